"""Text to token ids and back."""

from numformer.tokenizers.base import Savable as Savable
from numformer.tokenizers.base import TokenIds as TokenIds
from numformer.tokenizers.base import Tokenizer as Tokenizer
from numformer.tokenizers.base import encode_all as encode_all
from numformer.tokenizers.base import encode_text as encode_text
from numformer.tokenizers.base import token_dtype as token_dtype
from numformer.tokenizers.bytes import ByteTokenizer as ByteTokenizer
from numformer.tokenizers.characters import CharacterTokenizer as CharacterTokenizer
from numformer.tokenizers.kinds import KINDS as KINDS
from numformer.tokenizers.kinds import make_tokenizer as make_tokenizer
from numformer.tokenizers.pair import TokenizerPair as TokenizerPair
from numformer.tokenizers.saved import check_savable as check_savable
from numformer.tokenizers.saved import load_tokenizer as load_tokenizer
from numformer.tokenizers.saved import save_tokenizer as save_tokenizer
from numformer.tokenizers.subwords import SubwordTokenizer as SubwordTokenizer
from numformer.tokenizers.words import WordTokenizer as WordTokenizer
