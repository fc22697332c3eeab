"""Values <-> files. `registry` finds the codec; each family of types has a file of its own.

A library is imported only when a value of it is at hand or a load asks for it.
"""
