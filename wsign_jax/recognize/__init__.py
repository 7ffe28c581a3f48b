"""Turns recordings into glosses, with a trained run or with a file that was exported from one."""
