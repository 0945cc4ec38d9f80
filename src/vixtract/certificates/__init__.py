"""Certificates: making, judging and keeping them.

The front door's keeper (`python3 -m vixtract.certificates`) chooses what nginx serves; the Hub's
provisioner gives PostgreSQL a certificate of the appliance's own authority.
"""
