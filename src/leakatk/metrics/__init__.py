"""Metrics: numbers of a model that do not come from samples. Importing one of them registers all."""

from leakatk.metrics import adaptive as adaptive
from leakatk.metrics import choices as choices
from leakatk.metrics import control as control
from leakatk.metrics import curves as curves
from leakatk.metrics import degrees as degrees
from leakatk.metrics import efficacy as efficacy
from leakatk.metrics import exposure as exposure
from leakatk.metrics import fluency as fluency
from leakatk.metrics import forgetting as forgetting
from leakatk.metrics import gibberish as gibberish
from leakatk.metrics import in_context as in_context
from leakatk.metrics import keywords as keywords
from leakatk.metrics import klom as klom
from leakatk.metrics import membership as membership
from leakatk.metrics import memo as memo
from leakatk.metrics import memorisation as memorisation
from leakatk.metrics import mixed as mixed
from leakatk.metrics import ranks as ranks
from leakatk.metrics import refusals as refusals
from leakatk.metrics import restoration as restoration
from leakatk.metrics import retrained as retrained
from leakatk.metrics import robustness as robustness
from leakatk.metrics import superficial as superficial
from leakatk.metrics import suppression as suppression
from leakatk.metrics import truth_ratio as truth_ratio
from leakatk.metrics import utility as utility
