/* What this machine could do at most: independent multiply-adds in registers, as many as the FMA units can have under way.
 * Returns the floating-point operations done. */
static double FN(peak)(idx rounds)
{
    vec acc[12];
    for (int i = 0; i < 12; i++)
        acc[i] = FN(splat)((REAL)i);
    vec factor = FN(splat)((REAL)0.5), term = FN(splat)((REAL)1);
    __asm__ volatile("" : "+m"(factor), "+m"(term));
    for (idx r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            acc[i] = acc[i] * factor + term;
    for (int i = 1; i < 12; i++)
        acc[0] += acc[i];
    __asm__ volatile("" : : "m"(acc[0]));
    return 24.0 * (double)rounds * (double)VLEN;
}
