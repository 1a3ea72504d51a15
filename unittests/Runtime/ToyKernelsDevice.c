/*===- ToyKernelsDevice.c - Kernels of the toy model for a GPU -------------===
 *
 * The functions of ToyKernels.c as kernels that take their pointers one by one.
 * A task is a block, whose first thread does all the work. They are launched
 * while the launch before may still run, and wait for it first.
 *===----------------------------------------------------------------------===*/
#define TOY_DEVICE 1
#define append append_task
#define attend attend_task
#define compress compress_task
#define head_of head_of_task
#define choose choose_task
#define rebuild rebuild_task
#define compact compact_task
#define set_status set_status_task
#include "ToyKernels.c"
#undef append
#undef attend
#undef compress
#undef head_of
#undef choose
#undef rebuild
#undef compact
#undef set_status

#define RUN(task, ...)                                                         \
  {                                                                            \
    __asm__ volatile("griddepcontrol.wait;" ::: "memory");                     \
    void *const args[] = {__VA_ARGS__};                                        \
    if (__nvvm_read_ptx_sreg_tid_x() == 0)                                     \
      task(args, __nvvm_read_ptx_sreg_ctaid_x());                              \
    __asm__ volatile("griddepcontrol.launch_dependents;" ::: "memory");        \
  }
#define KERNEL __attribute__((nvptx_kernel)) void
typedef void *P;

KERNEL append(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j, P k, P l, P m,
              P n) RUN(append_task, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
KERNEL set_status(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j, P k, P l,
                  P m, P n)
    RUN(set_status_task, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
KERNEL attend(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j, P k, P l, P m)
    RUN(attend_task, a, b, c, d, e, f, g, h, i, j, k, l, m)
KERNEL compress(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j, P k)
    RUN(compress_task, a, b, c, d, e, f, g, h, i, j, k)
KERNEL head_of(P a, P b, P c) RUN(head_of_task, a, b, c)
KERNEL choose(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j, P k, P l)
    RUN(choose_task, a, b, c, d, e, f, g, h, i, j, k, l)
KERNEL rebuild(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j)
    RUN(rebuild_task, a, b, c, d, e, f, g, h, i, j)
KERNEL compact(P a, P b, P c, P d, P e, P f, P g, P h, P i, P j)
    RUN(compact_task, a, b, c, d, e, f, g, h, i, j)
