#if defined(__x86_64__)
#define KERNEL kAvx512
#define KERNEL_NAME "avx512"
#include "kernel.inc"
#endif
