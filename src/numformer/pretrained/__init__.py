"""Models as files that the rest of the world reads, in and out."""

from numformer.pretrained.adapters import NO_ADAPTERS as NO_ADAPTERS
from numformer.pretrained.adapters import LoRAConfig as LoRAConfig
from numformer.pretrained.adapters import adapt as adapt
from numformer.pretrained.adapters import adapter_of as adapter_of
from numformer.pretrained.adapters import kept_state as kept_state
from numformer.pretrained.adapters import merge as merge
from numformer.pretrained.adapters import take_state as take_state
from numformer.pretrained.array_files import read_metadata as read_metadata
from numformer.pretrained.array_files import read_safetensors as read_safetensors
from numformer.pretrained.array_files import write_safetensors as write_safetensors
from numformer.pretrained.finding import is_gguf as is_gguf
from numformer.pretrained.folders import under as under
from numformer.pretrained.gguf_read import GGUFModel as GGUFModel
from numformer.pretrained.gguf_read import read_gguf as read_gguf
from numformer.pretrained.gguf_write import write_gguf as write_gguf
from numformer.pretrained.models import config_file as config_file
from numformer.pretrained.models import is_adapter as is_adapter
from numformer.pretrained.models import load_folder_weights as load_folder_weights
from numformer.pretrained.models import load_model as load_model
from numformer.pretrained.models import save_config as save_config
from numformer.pretrained.models import save_model as save_model
from numformer.pretrained.models import weights_file as weights_file
