"""Reading text, drawing batches from it, and the corpora that come with the library."""

from numformer.data.clean_pairs import clean_pairs as clean_pairs
from numformer.data.conll import TaggedSentence as TaggedSentence
from numformer.data.conll import read_conll as read_conll
from numformer.data.corpora import CORPORA as CORPORA
from numformer.data.corpora import Corpus as Corpus
from numformer.data.corpora import fetch as fetch
from numformer.data.corpora import find_corpus as find_corpus
from numformer.data.corpora import list_corpora as list_corpora
from numformer.data.examples import Examples as Examples
from numformer.data.labelled import read_labelled as read_labelled
from numformer.data.lines import read_lines as read_lines
from numformer.data.loader import DataLoader as DataLoader
from numformer.data.loader import TensorDataset as TensorDataset
from numformer.data.pairs import read_pairs as read_pairs
from numformer.data.split import near_duplicate_groups as near_duplicate_groups
from numformer.data.split import split_by_group as split_by_group
from numformer.data.squad import Question as Question
from numformer.data.squad import read_squad as read_squad
from numformer.data.text import encode_file as encode_file
from numformer.data.text import read_text_chunks as read_text_chunks
from numformer.data.toy import TOYS as TOYS
from numformer.data.toy import make_key_value_questions as make_key_value_questions
from numformer.data.toy import make_toy_pairs as make_toy_pairs
from numformer.data.toy import toy_splits as toy_splits
from numformer.data.windows import TokenWindows as TokenWindows
from numformer.data.windows import split_tokens as split_tokens
