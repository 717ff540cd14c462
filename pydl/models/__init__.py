"""Whole networks, ready to train."""

from pydl.models.char_rnn import CharRNN, sample_token
from pydl.models.recurrent import CELLS, detach_state
from pydl.models.series_rnn import SeriesRNN

__all__ = ["CELLS", "CharRNN", "SeriesRNN", "detach_state", "sample_token"]
