"""The stage object-detect: a valid picture and the model in force give the objects in the picture."""
