"""Choosing a cascade from recorded outcomes: which rungs, in which order, and when to climb.

    outcomes   what each rung said to each question, in numbers
    sweep      every threshold combination of one chain at once, and Pareto fronts
    replay     what a given cascade would have done, row by row, exactly as `climb` does
    guarantee  bounds on the loss of quality, honest about how few rows there are
    optimise   the choice, cross-fitted, with its reason in words

The rooms know numbers only: no text, no model, no file.
"""
