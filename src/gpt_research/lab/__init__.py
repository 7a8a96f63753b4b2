"""Experiments: arms that differ in a setting, trained in pairs, and what the pairs say.

Modules:
    sequential  intervals that hold although the result is looked at after each pair
"""
