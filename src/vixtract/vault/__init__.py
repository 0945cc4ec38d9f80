"""Named connections to other systems, stored encrypted and given only to their owner's processes.

`server` is the root process that answers questions about them; `client` is what notebooks call;
`probe` is the Test button's work; `kinds` has a module for each kind; root's other processes call
`owners`.
"""
