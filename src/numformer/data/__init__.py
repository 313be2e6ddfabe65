"""Reading text, drawing batches from it, and the corpora that come with the library."""

from numformer.data.corpora import CORPORA as CORPORA
from numformer.data.corpora import Corpus as Corpus
from numformer.data.corpora import fetch as fetch
from numformer.data.corpora import find_corpus as find_corpus
from numformer.data.corpora import list_corpora as list_corpora
from numformer.data.loader import DataLoader as DataLoader
from numformer.data.loader import TensorDataset as TensorDataset
from numformer.data.text import encode_file as encode_file
from numformer.data.text import read_text_chunks as read_text_chunks
from numformer.data.windows import TokenWindows as TokenWindows
from numformer.data.windows import split_tokens as split_tokens
