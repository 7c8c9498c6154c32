"""Trident beside its peers (`perf.peers`): same machine, data, release and run, taking turns A B A B …"""
