"""Every error gpuseg raises on purpose.

GpusegError
├── InputError                    the data or a parameter is wrong      (also a ValueError)
│   ├── FileError                 a file cannot be read as what it says it is
│   ├── ShapeError                sizes or axes do not fit
│   ├── LabelError                scribbles cannot be learned from
│   └── ModelError                a model or project is damaged or lacks a part
│       └── ModelMismatchError    this image and this model do not fit each other
├── ResourceError                 memory or disk ran out                (also a RuntimeError)
│   └── DeviceMemoryError         the memory of a GPU ran out: smaller tiles may fit
├── BackendError                  the machine is wrong                  (also a RuntimeError)
│   ├── BackendUnavailableError   package or device missing
│   └── KernelError               a CUDA source did not compile or launch
└── Cancelled                     the user asked to stop
"""


class GpusegError(Exception):
    """What is wrong, with both numbers; then, as `hint`, what the reader can do about it."""

    exit_code = 3

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)
        self.problem, self.hint = problem, hint

    def at(self, where: str) -> "GpusegError":
        """The same error with the file it concerns in front; `api` adds it once."""
        return type(self)(f"{where}: {self.problem}", hint=self.hint)


class InputError(GpusegError, ValueError): ...


class FileError(InputError): ...


class ShapeError(InputError): ...


class LabelError(InputError): ...


class ModelError(InputError): ...


class ModelMismatchError(ModelError): ...


class ResourceError(GpusegError, RuntimeError):
    exit_code = 4


class DeviceMemoryError(ResourceError): ...


FULL = (DeviceMemoryError, MemoryError)  # of backends, and of what arrays do by themselves


def why(error: Exception) -> str:
    """What ran out, without what a user might do where we do it."""
    return error.problem if isinstance(error, DeviceMemoryError) else f"memory ran out: {error}"


class BackendError(GpusegError, RuntimeError):
    exit_code = 4


class BackendUnavailableError(BackendError): ...


class KernelError(BackendError): ...


class Cancelled(GpusegError):
    exit_code = 130
