"""Ceilings: what each stage of a request moves, computes and calls, against what a machine can do.

facts     a release → the sizes that matter
stages    sizes → bytes, FLOPs, node visits and calls of every stage, pure
devices   this machine measured, named ones from their makers' data sheets
ceiling   stages × device → requests/s and what binds; achieved ÷ ceiling from a stored result
plot      the roofline picture
"""
