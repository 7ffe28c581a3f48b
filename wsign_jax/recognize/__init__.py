"""Recordings to glosses, by a trained run or by a file that was exported from one."""
