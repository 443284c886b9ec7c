/* One step of delta-current LIF neurons, as operators/spiking/lif_kernels.py: what a C compiler makes of the same loop for this CPU.
   Spikes are found afterwards, 64 neurons per compare. Compiled with -O3 -march=native -ffp-contract=off. */
#include <stdint.h>
#include <stddef.h>

static uint64_t equal_bits64(const int8_t *flags, int8_t value)
{
    typedef int8_t block __attribute__((vector_size(64), aligned(1)));
    uint64_t word = 0;
#ifdef __AVX512BW__
    block b = *(const block *)flags;
    word = (uint64_t)__builtin_ia32_ptestnmb512((__attribute__((vector_size(64))) char)(b ^ value),
                                                (__attribute__((vector_size(64))) char)(b ^ value), (uint64_t)-1);
#else
    for (int k = 0; k < 64; k++)
        word |= (uint64_t)(flags[k] == value) << k;
#endif
    return word;
}

int64_t lif_steps(float *restrict v, float *restrict pending, int8_t *restrict refractory, uint32_t *restrict spikes, int64_t size,
                  float decay, float drive, float threshold, float reset, int8_t steps, int64_t often)
{
    int64_t total = 0;
    for (int64_t s = 0; s < often; s++) {
        for (int64_t i = 0; i < size; i++) {
            int8_t left = refractory[i];
            float potential = v[i] * decay + drive + pending[i];
            int held = left > 1;
            int spike = (potential >= threshold) & !held;
            int8_t less = left - 1;
            v[i] = (held | spike) ? reset : potential;
            refractory[i] = spike ? steps : (less > 0 ? less : 0);
            pending[i] = 0.0f;
        }
        int64_t count = 0;
        for (int64_t block = 0; block < size; block += 64) {
            uint64_t word = equal_bits64(refractory + block, steps);
            while (word) {
                spikes[count++] = (uint32_t)(block + __builtin_ctzll(word));
                word &= word - 1;
            }
        }
        total += count;
    }
    return total;
}
