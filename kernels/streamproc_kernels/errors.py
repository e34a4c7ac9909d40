"""What the kernels raise.

KernelError
├── UnknownKernel (also LookupError)   no such kernel, device or dtype
├── DeviceMissing                      this machine cannot run that device
└── LaunchError (also TypeError)       arguments a CUDA kernel would misread
"""


class KernelError(RuntimeError):
    """Root of everything this package raises on purpose, but ValueError."""


class UnknownKernel(KernelError, LookupError):
    """A name that is not in the table; the text suggests the nearest one."""


class DeviceMissing(KernelError):
    """The device, its driver or its compiler is absent; the text says the cure."""


class LaunchError(KernelError, TypeError):
    """An argument whose type, dtype, layout or place the kernel cannot take."""
