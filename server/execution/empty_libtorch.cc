// Nothing. A compiled package asks for a library by the name `libtorch.so`. The real one would load
// all of CUDA and adds nothing on a CPU: what the package uses is in libtorch_cpu.so.
