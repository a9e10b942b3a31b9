"""Teach it my pieces: the page's part for `musicgen train --from`, on a machine of one's own.

shelf.py     where pieces and taught weights lie, and what is told of them
lesson.py    one run, in a process of its own
teacher.py   what the page asks for
weights.py   other weights for the notes, as the scheduler has them opened
section.py   what is seen, which page/teach.js brings to life
"""
