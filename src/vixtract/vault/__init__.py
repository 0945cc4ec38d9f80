"""Named connections to other systems, stored encrypted and given only to their owner's processes.

`server` is the root process that answers questions about them, `requests` its answers, `client`
what asks them. Notebooks call `notebooks`, root's other processes `owners`. `probe` is the Test
button's work, and `kinds` has a module for each kind of connection.
"""
