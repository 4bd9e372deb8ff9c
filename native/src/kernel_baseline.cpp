#define KERNEL kBaseline
#define KERNEL_NAME "baseline"
#include "kernel.inc"
