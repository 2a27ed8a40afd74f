"""Imaging that several stages share: OpenCV, boxes drawn on pictures, text on pictures."""
