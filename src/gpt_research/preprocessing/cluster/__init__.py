"""Preprocessing on a cluster: workers on any nodes that share a folder, started by Slurm or Ray.

A worker goes through all stages and takes any task that is not done and that no other worker has
claimed. So one worker alone would finish the run, and each further one makes it faster. What is
done and who does what stands in files of the work folder.
"""
