"""Rule files of version 2: their form, and the match of a picture and a rule."""
