"""The few calls of the CUDA driver that plans need, through ctypes."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p

CLUSTER_DIMENSION, PROGRAMMATIC_STREAM_SERIALIZATION = 4, 6  # CUlaunchAttributeID
MAX_DYNAMIC_SHARED, NON_PORTABLE_CLUSTER_SIZE = 8, 14  # CUfunction_attribute
CAPTURE_THREAD_LOCAL = 1


class _AttributeValue(ctypes.Union):
    _fields_ = [("pad", ctypes.c_byte * 64), ("cluster", c_uint * 3), ("flag", c_int)]


class _Attribute(ctypes.Structure):
    _fields_ = [("id", c_int), ("pad", ctypes.c_byte * 4), ("value", _AttributeValue)]


class _Config(ctypes.Structure):
    _fields_ = [
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared", c_uint),
        ("stream", c_void_p),
        ("attributes", POINTER(_Attribute)),
        ("count", c_uint),
    ]


class Error(RuntimeError):
    pass


_library = None


def call(name, *args):
    """Calls a function of the driver; raises Error unless it succeeds."""
    global _library
    if _library is None:
        _library = ctypes.CDLL("libcuda.so.1")
    code = getattr(_library, name)(*args)
    if code:
        text = c_char_p()
        _library.cuGetErrorString(code, byref(text))
        raise Error(f"{name}: {(text.value or b'unknown').decode()} ({code})")


class Device:
    """The first GPU, in its primary context (the one that PyTorch uses)."""

    def __init__(self):
        call("cuInit", 0)
        device, context = c_int(), c_void_p()
        call("cuDeviceGet", byref(device), 0)
        call("cuDevicePrimaryCtxRetain", byref(context), device)
        call("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(100)
        call("cuDeviceGetName", name, 100, device)
        self.name = name.value.decode()
        stream = c_void_p()
        call("cuStreamCreate", byref(stream), 1)
        self.stream = stream

    def allocate(self, size):
        pointer = c_uint64()
        call("cuMemAlloc_v2", byref(pointer), c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer):
        call("cuMemFree_v2", c_uint64(pointer))

    def upload(self, array, pointer=None):
        """Copies a contiguous NumPy array to `pointer`, or to new memory; returns where."""
        pointer = self.allocate(array.nbytes) if pointer is None else pointer
        if array.nbytes:
            # On the stream: another copy may still be on its way to the device when the call returns.
            data, size = array.ctypes.data_as(c_void_p), c_size_t(array.nbytes)
            call("cuMemcpyHtoDAsync_v2", c_uint64(pointer), data, size, self.stream)
            self.synchronize()
        return pointer

    def download(self, array, pointer):
        """Fills a NumPy array from `pointer`."""
        call("cuMemcpyDtoH_v2", array.ctypes.data_as(c_void_p), c_uint64(pointer), c_size_t(array.nbytes))
        return array

    def fill(self, pointer, byte, size):
        call("cuMemsetD8Async", c_uint64(pointer), ctypes.c_ubyte(byte), c_size_t(size), self.stream)

    def synchronize(self):
        call("cuStreamSynchronize", self.stream)

    def capture(self, work):
        """Runs `work` under stream capture and returns the graph that launches it."""
        call("cuStreamBeginCapture_v2", self.stream, CAPTURE_THREAD_LOCAL)
        work()
        graph, executable = c_void_p(), c_void_p()
        call("cuStreamEndCapture", self.stream, byref(graph))
        call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
        return executable

    def launch_graph(self, executable):
        call("cuGraphLaunch", executable, self.stream)

    def time(self, work):
        """Milliseconds that the stream takes for `work`."""
        start, stop, elapsed = c_void_p(), c_void_p(), c_float()
        for event in (start, stop):
            call("cuEventCreate", byref(event), 0)
        call("cuEventRecord", start, self.stream)
        work()
        call("cuEventRecord", stop, self.stream)
        call("cuEventSynchronize", stop)
        call("cuEventElapsedTime", byref(elapsed), start, stop)
        for event in (start, stop):
            call("cuEventDestroy_v2", event)
        return elapsed.value


class Module:
    """A cubin on the device."""

    def __init__(self, image):
        self.handle = c_void_p()
        call("cuModuleLoadData", byref(self.handle), c_char_p(image))
        self.functions = {}

    def function(self, name):
        if name not in self.functions:
            function = c_void_p()
            call("cuModuleGetFunction", byref(function), self.handle, name.encode())
            self.functions[name] = function
        return self.functions[name]


class Launch:
    """One kernel with its buffers and geometry, ready to be launched again and again."""

    def __init__(self, function, pointers, grid, block, cluster=1, shared=0, dependent=False):
        self.function = function
        self.values = [c_uint64(pointer) for pointer in pointers]
        self.arguments = (c_void_p * len(pointers))(*[ctypes.cast(byref(v), c_void_p) for v in self.values])
        attributes = []
        if cluster > 1:
            attributes.append(_Attribute(id=CLUSTER_DIMENSION, value=_AttributeValue(cluster=(cluster, 1, 1))))
            if cluster > 8:
                call("cuFuncSetAttribute", function, NON_PORTABLE_CLUSTER_SIZE, 1)
        if dependent:
            attributes.append(_Attribute(id=PROGRAMMATIC_STREAM_SERIALIZATION, value=_AttributeValue(flag=1)))
        if shared > 0:
            call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, shared)
        self.attributes = (_Attribute * len(attributes))(*attributes)
        self.config = _Config((c_uint * 3)(*grid), (c_uint * 3)(*block), shared, None, self.attributes, len(attributes))

    def __call__(self, stream):
        self.config.stream = stream
        call("cuLaunchKernelEx", byref(self.config), self.function, self.arguments, None)
