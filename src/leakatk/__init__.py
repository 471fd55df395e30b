"""leak@k: does an unlearned model still leak when it is sampled the way people use it?"""

__version__ = "0.1.0"
