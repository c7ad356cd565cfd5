/*
 * Trains a linear model in C with fusestep's AdamW, saves the training half way, and goes on from there with another optimizer: the end has the same
 * bits. From the repository's root:
 *
 *   make capi && cc examples/c/train.c -Icapi -Lbin -lfusestep -Wl,-rpath,$PWD/bin -lm -o bin/train && bin/train
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fusestep.h"

enum { SAMPLES = 64, FEATURES = 8, STEPS = 400, SLOTS = 3, COUNTERS = 3 };

static char err[256];

static void check(int rc) {
  if (rc != FS_OK) {
    fprintf(stderr, "fusestep: %s\n", err);
    exit(1);
  }
}

/* Model is a linear model with its AdamW's state, all of which is ours. */
typedef struct {
  float weight[FEATURES], bias[1];
  float exp_avg[FEATURES + 1], exp_avg_sq[FEATURES + 1]; /* of the weight, then of the bias */
} model;

static float inputs[SAMPLES][FEATURES], targets[SAMPLES];

static void make_data(void) {
  unsigned x = 1;
  for (int i = 0; i < SAMPLES; i++) {
    targets[i] = 0.5f;
    for (int j = 0; j < FEATURES; j++) {
      x = x * 1664525u + 1013904223u;
      inputs[i][j] = (float)(x >> 16) / 32768 - 1;
      targets[i] += inputs[i][j] * (float)(j - 3);
    }
  }
}

/* Gradients of the mean squared error. It returns that error. */
static float backward(const model *m, float *dw, float *db) {
  float loss = 0;
  memset(dw, 0, FEATURES * sizeof *dw);
  *db = 0;
  for (int i = 0; i < SAMPLES; i++) {
    float e = m->bias[0] - targets[i];
    for (int j = 0; j < FEATURES; j++) e += m->weight[j] * inputs[i][j];
    loss += e * e / SAMPLES;
    for (int j = 0; j < FEATURES; j++) dw[j] += 2 * e * inputs[i][j] / SAMPLES;
    *db += 2 * e / SAMPLES;
  }
  return loss;
}

/* Two groups, of the weight and of the bias, which does not decay. */
static fs_handle optimizer(fs_handle dev, model *m) {
  fs_handle opt;
  check(fs_new(dev, "AdamW", &opt, err, sizeof err));
  const size_t lengths[2] = {FEATURES, 1};
  void *values[2] = {m->weight, m->bias};
  void *exp_avg[2] = {m->exp_avg, m->exp_avg + FEATURES}, *exp_avg_sq[2] = {m->exp_avg_sq, m->exp_avg_sq + FEATURES};
  for (int i = 0; i < 2; i++) {
    void *const *state[SLOTS] = {&exp_avg[i], &exp_avg_sq[i], NULL};
    fs_group g = {.n = 1, .lengths = &lengths[i], .values = &values[i], .value_type = FS_F32, .state = state};
    g.options = i ? "{\"names\": [\"bias\"]}" : "{\"names\": [\"weight\"]}";
    check(fs_add_group(opt, &g, err, sizeof err));
  }
  return opt;
}

/* The hyperparameters of both groups: the defaults, but for the learning rate, and that the bias does not decay. */
static void set_hyper(double *hyper, size_t room, double lr) {
  size_t n = room, at_lr, at_decay;
  check(fs_defaults("AdamW", hyper, &n, err, sizeof err));
  check(fs_index("AdamW", "lr", &at_lr, err, sizeof err));
  check(fs_index("AdamW", "weight_decay", &at_decay, err, sizeof err));
  if (2 * n > room) abort();
  hyper[at_lr] = lr;
  memcpy(hyper + n, hyper, n * sizeof *hyper);
  hyper[n + at_decay] = 0;
}

static float train(fs_handle opt, model *m, int from, int to) {
  float loss = 0;
  for (int step = from; step < to; step++) {
    double hyper[64], norm;
    set_hyper(hyper, 64, 0.1 * (0.5 + 0.5 * cos(3.14159265358979 * step / STEPS)));
    float *dw = malloc(FEATURES * sizeof *dw), *db = malloc(sizeof *db); /* elsewhere at each step, as a framework may have it */
    loss = backward(m, dw, db);
    void *grad_weight[1] = {dw}, *grad_bias[1] = {db};
    void *const *rows[2 * (2 + SLOTS)] = {NULL, grad_weight, NULL, NULL, NULL, NULL, grad_bias, NULL, NULL, NULL};
    fs_args args = {.hyper = hyper, .rows = rows, .max_norm = 5, .grad_norm = &norm};
    check(fs_step(opt, &args, err, sizeof err));
    free(dw);
    free(db);
  }
  return loss;
}

int main(void) {
  make_data();
  fs_handle dev;
  check(fs_device(0, &dev, err, sizeof err));

  model m = {{0}, {0}, {0}, {0}};
  fs_handle opt = optimizer(dev, &m);
  train(opt, &m, 0, STEPS / 2);
  const model saved = m;
  double counters[2][COUNTERS];
  for (int i = 0; i < 2; i++) check(fs_counters(opt, i, counters[i], err, sizeof err));
  float loss = train(opt, &m, STEPS / 2, STEPS);
  check(fs_free(opt, err, sizeof err));

  model again = saved;
  opt = optimizer(dev, &again);
  for (int i = 0; i < 2; i++) check(fs_set_counters(opt, i, counters[i], err, sizeof err));
  train(opt, &again, STEPS / 2, STEPS);
  check(fs_free(opt, err, sizeof err));
  check(fs_free(dev, err, sizeof err));

  printf("loss %.4f, weight", loss);
  for (int j = 0; j < FEATURES; j++) printf(" %.2f", m.weight[j]);
  printf(", bias %.2f\n", m.bias[0]);
  printf("goes on with the same bits: %s\n", memcmp(&m, &again, sizeof m) ? "no" : "yes");
  return memcmp(&m, &again, sizeof m) != 0;
}
