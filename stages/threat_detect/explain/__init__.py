"""Explanation of decisions: one plain sentence a rule and picture, with the numbers on which the decision rests."""
