"""Named connections to other systems: kept encrypted, handed to their owner's processes alone.

`server` is the root process that keeps them; `client` is what notebooks call; `probe` is the Test
button's work; `store` is for root's other processes.
"""
