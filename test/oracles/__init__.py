"""Independent NumPy definitions of what the compiler must compute.

Each module follows a published method, never the C++ code. They favour being read over being fast.
"""
