"""Neural radiance fields (Mildenhall et al. 2020) in TensorFlow and Keras."""

import os

__version__ = "0.2.0"

# Keras would otherwise take the backend that a file in the user's home names.
os.environ["KERAS_BACKEND"] = "tensorflow"
