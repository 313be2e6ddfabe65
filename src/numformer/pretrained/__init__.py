"""Models as files that the rest of the world reads, in and out."""

from numformer.pretrained.array_files import read_metadata as read_metadata
from numformer.pretrained.array_files import read_safetensors as read_safetensors
from numformer.pretrained.array_files import write_safetensors as write_safetensors
from numformer.pretrained.folders import load_folder_weights as load_folder_weights
from numformer.pretrained.folders import load_model as load_model
from numformer.pretrained.folders import save_config as save_config
from numformer.pretrained.folders import save_model as save_model
from numformer.pretrained.folders import under as under
from numformer.pretrained.gguf_read import GGUFModel as GGUFModel
from numformer.pretrained.gguf_read import read_gguf as read_gguf
from numformer.pretrained.gguf_write import write_gguf as write_gguf
