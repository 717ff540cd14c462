/* Every kernel for one REAL, in the order of their dependence. No include guard: read once per dtype. */
#include "../core/vec.h"
#include "../core/vmath.h"
#include "../core/gemm.h"
#include "../core/patches.h"
#include "../core/peak.h"

#include "../kernels/matmul.c"
#include "../kernels/linear.c"
#include "../kernels/im2col.c"
#include "../kernels/conv2d_depthwise.c"
#include "../kernels/conv2d.c"
#include "../kernels/activation.c"
#include "../kernels/softmax.c"
#include "../kernels/pool2d.c"
#include "../kernels/dropout.c"
#include "../kernels/optimizer.c"

#include "../core/end.h"
