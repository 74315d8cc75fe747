"""Marks: what tells a generated sample again after its metadata are gone."""
