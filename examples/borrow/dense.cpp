// One step of a linear classifier in C++: x (N,I), w (O,I), b (O,), one label per row.
//
//     c++ -std=c++17 dense.cpp $(pkg-config --cflags --libs pydl) -o dense && ./dense
#include <cstdio>
#include <pydl.h>
#include <stdexcept>
#include <vector>

static void must(int status)
{
    if (status == PYDL_BAD_INDEX)
        throw std::out_of_range("a label is not among the classes");
    if (status != PYDL_OK)
        throw std::bad_alloc();
}

int main()
{
    constexpr pydl_idx n = 6, in = 5, out = 3;
    std::vector<float> x(n * in), w(out * in, 0.1f), b(out), logits(n * out), probs(n * out), loss(n), dloss(n, 1.0f / n);
    std::vector<float> dlogits(n * out), dw(out * in), db(out);
    std::vector<int64_t> labels(n);
    for (pydl_idx i = 0; i < n * in; i++)
        x[i] = static_cast<float>(i * i % 7) / 7;
    for (pydl_idx i = 0; i < n; i++)
        labels[i] = i % out;

    float first = 0, mean = 0;
    for (int step = 0; step < 100; step++) {
        must(pydl_linear_forward(PYDL_F32, n, in, out, x.data(), w.data(), b.data(), 0, logits.data()));
        must(pydl_softmax_cross_entropy_forward(PYDL_F32, n, out, logits.data(), labels.data(), nullptr, 0, 0, loss.data(),
                                                probs.data()));
        mean = 0;
        for (float value : loss)
            mean += value / n;
        first = step ? first : mean;
        must(pydl_softmax_cross_entropy_backward(PYDL_F32, n, out, dloss.data(), probs.data(), labels.data(), nullptr, 0, 0,
                                                 dlogits.data()));
        must(pydl_linear_backward_weight(PYDL_F32, n, in, out, dlogits.data(), x.data(), dw.data()));
        must(pydl_linear_backward_bias(PYDL_F32, n, out, dlogits.data(), db.data()));
        must(pydl_sgd_step(PYDL_F32, out * in, w.data(), dw.data(), nullptr, 0.5, 0, 0, 0, 0, 0));
        must(pydl_sgd_step(PYDL_F32, out, b.data(), db.data(), nullptr, 0.5, 0, 0, 0, 0, 0));
    }
    std::printf("loss %.3f, after 100 steps %.3f\n", first, mean);
    return mean < first ? 0 : 1;
}
