"""The catalog of rules between parameters and states: what the API refuses, with the source of each rule.

`enforcement` has all of them, and checks those that declare a `check` before the call is handled.
"""
