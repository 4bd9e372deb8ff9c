#if defined(__x86_64__)
#define KERNEL kAvx2
#define KERNEL_NAME "avx2"
#include "kernel.inc"
#endif
