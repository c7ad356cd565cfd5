/* What a host of the library relies on, beside what it computes: each check prints a line where it fails. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusestep.h"

static char err[512];
static int failed;

#define EXPECT(condition, ...)                         \
  do {                                                 \
    if (!(condition)) {                                \
      printf("%s:%d: ", __func__, __LINE__);           \
      printf(__VA_ARGS__);                             \
      printf("; err is \"%s\"\n", err);                \
      failed = 1;                                      \
    }                                                  \
  } while (0)
#define OK(call) EXPECT((call) == FS_OK, #call)
#define FAILS(call, code, text)                                                        \
  do {                                                                                 \
    err[0] = 0;                                                                        \
    int rc = (call);                                                                   \
    EXPECT(rc == (code) && strstr(err, text), "%s gives %d, not %d", #call, rc, code); \
  } while (0)
#define E err, sizeof err

enum { N = 3, LENGTH = 1000 };

static fs_handle dev;

/* An SGD with momentum over N tensors, whose state the library has. */
typedef struct {
  fs_handle opt;
  float x[N][LENGTH], g[N][LENGTH];
  void *values[N], *gradients[N];
} world;

static int make(world *w, const char *algorithm, const char *options) {
  static const size_t lengths[N] = {LENGTH, 1, LENGTH / 2};
  for (int i = 0; i < N; i++) {
    w->values[i] = w->x[i], w->gradients[i] = w->g[i];
    for (int k = 0; k < LENGTH; k++) w->x[i][k] = 1, w->g[i][k] = 0.5f;
  }
  int rc = fs_new(dev, algorithm, &w->opt, E);
  if (rc) return rc;
  fs_group g = {.n = N, .lengths = lengths, .values = w->values, .value_type = FS_F32, .options = options};
  return fs_add_group(w->opt, &g, E);
}

static int step(world *w, fs_args args) {
  void *const *rows[8] = {NULL, w->gradients};
  args.rows = rows;
  return fs_step(w->opt, &args, E);
}

static void check_errors(void) {
  world *w = calloc(1, sizeof *w);
  OK(make(w, "SGD", NULL));
  fs_handle h;
  FAILS(fs_new(dev, "Adamw", &h, E), FS_ARGUMENT, "there is no algorithm \"Adamw\", only SGD, ");
  FAILS(fs_new(dev, NULL, &h, E), FS_ARGUMENT, "algorithm is NULL");
  FAILS(fs_new(dev, "SGD", NULL, E), FS_ARGUMENT, "optimizer is NULL");
  FAILS(fs_new(w->opt, "SGD", &h, E), FS_HANDLE, "is of no device");
  FAILS(fs_cuda(0, &h, E), FS_UNAVAILABLE, "built without CUDA");
  FAILS(fs_stream(w->opt, NULL, E), FS_ARGUMENT, "is no GPU");
  FAILS(fs_step(dev, &(fs_args){0}, E), FS_HANDLE, "is of no optimizer");
  FAILS(fs_step(w->opt, NULL, E), FS_ARGUMENT, "args is NULL");
  FAILS(fs_capture(dev, &(fs_args){0}, E), FS_HANDLE, "is of no optimizer");
  FAILS(fs_capture(w->opt, NULL, E), FS_ARGUMENT, "args is NULL");
  FAILS(fs_capture(w->opt, &(fs_args){0}, E), FS_ARGUMENT, "is no GPU");
  FAILS(fs_add_group(w->opt, NULL, E), FS_ARGUMENT, "group is NULL");
  size_t length = 4, n;
  void *value = w->g[2], *odd = (char *)w->g[2] + 2, *null = NULL;
  fs_group g = {.n = 1, .lengths = &length, .values = &value};
  FAILS(fs_add_group(w->opt, &g, E), FS_ARGUMENT, "value_type is 0");
  g.value_type = FS_F32;
  g.values = (void *const *)((char *)&value + 1);
  FAILS(fs_add_group(w->opt, &g, E), FS_ARGUMENT, "values is 0x");
  g.values = &odd;
  FAILS(fs_add_group(w->opt, &g, E), FS_TENSOR, "tensor \"1.0\": value: address 0x");
  g.values = &null;
  FAILS(fs_add_group(w->opt, &g, E), FS_TENSOR, "the address is NULL");
  value = w->x[0] + 1;
  g.values = &value;
  FAILS(fs_add_group(w->opt, &g, E), FS_TENSOR, "overlaps value of group 0, tensor \"0.0\"");
  value = w->g[2];
  g.options = "{\"stat\": 1}";
  FAILS(fs_add_group(w->opt, &g, E), FS_ARGUMENT, "options: json: unknown field \"stat\"");
  g.options = "{\"names\": []}";
  FAILS(fs_add_group(w->opt, &g, E), FS_ARGUMENT, "there are 0 names of 1 tensors");
  g.options = NULL;
  double hyper[32];
  n = 32;
  OK(fs_defaults("SGD", hyper, &n, E));
  hyper[0] = -1;
  g.hyper = hyper;
  FAILS(fs_add_group(w->opt, &g, E), FS_HYPERPARAMETER, "sgd: lr is -1, must be at least 0");
  FAILS(step(w, (fs_args){.hyper = hyper}), FS_HYPERPARAMETER, "sgd: lr is -1");
  EXPECT(w->x[0][0] == 1, "a failed step has written");
  w->gradients[1] = w->values[2];
  FAILS(step(w, (fs_args){0}), FS_TENSOR, "tensor \"0.1\": grad overlaps value of group 0, tensor \"0.2\"");
  w->gradients[1] = w->g[1];
  float zero = 0;
  FAILS(step(w, (fs_args){.grad_scale = &zero}), FS_ARGUMENT, "grad_scale is 0");
  FAILS(step(w, (fs_args){.max_norm = -1}), FS_HYPERPARAMETER, "max_norm is -1");
  FAILS(fs_rows(w->opt, 1, &n, E), FS_ARGUMENT, "there is no group 1, only 1");
  FAILS(fs_row(w->opt, 0, 9, w->values, E), FS_ARGUMENT, "there is no row 9");
  FAILS(fs_index("SGD", "beta", &n, E), FS_ARGUMENT, "SGD has no hyperparameter \"beta\"");
  OK(step(w, (fs_args){0}));
  EXPECT(w->x[0][0] == 1 - 0.001f * 0.5f, "a step is a step");
  OK(fs_free(w->opt, E));
  FAILS(fs_free(w->opt, E), FS_HANDLE, "was freed");
  FAILS(step(w, (fs_args){0}), FS_HANDLE, "was freed");
  OK(fs_free(0, E));
  char small[8];
  fs_new(dev, "x", &h, small, sizeof small);
  EXPECT(!strcmp(small, "there i"), "a text is cut: %s", small);
  EXPECT(fs_new(dev, "x", &h, NULL, 0) == FS_ARGUMENT, "no text is asked for");
  free(w);
}

static void check_steps(void) {
  world *w = calloc(1, sizeof *w);
  OK(make(w, "AdamW", "{\"names\": [\"a\", \"b\", \"c\"]}"));
  const uint8_t mask[N] = {1, 0, 1};
  float scale = 2, found = 1;
  int skipped;
  double norm, counters[N][3];
  OK(step(w, (fs_args){.mask = mask}));
  EXPECT(w->x[1][0] == 1 && w->x[0][0] < 1, "the mask leaves one out");
  OK(step(w, (fs_args){.found_inf = &found, .skipped = &skipped}));
  EXPECT(skipped == 1, "found_inf skips");
  w->gradients[2] = NULL;
  OK(step(w, (fs_args){.grad_scale = &scale, .skipped = &skipped, .max_norm = 1, .grad_norm = &norm}));
  EXPECT(skipped == 0, "nothing is found");
  EXPECT(norm * norm > 1001 / 16.0 - 1e-9 && norm * norm < 1001 / 16.0 + 1e-9, "the norm is %g", norm);
  OK(fs_counters(w->opt, 0, counters[0], E));
  EXPECT(counters[0][0] == 2 && counters[1][0] == 1 && counters[2][0] == 1, "steps are %g, %g, %g", counters[0][0], counters[1][0], counters[2][0]);
  FAILS(step(w, (fs_args){.mask = mask}), FS_TENSOR, "tensor \"c\": the mask has it, and its gradient's address is NULL");
  size_t rows;
  OK(fs_rows(w->opt, 0, &rows, E));
  EXPECT(rows == 5, "%zu rows", rows);
  void *state[N];
  OK(fs_row(w->opt, 0, 2, state, E));
  float *average = state[0];
  EXPECT(average[0] > 0 && average[0] < 0.5f, "exp_avg is %g", average[0]);
  OK(fs_row(w->opt, 0, 4, state, E));
  EXPECT(state[0] == NULL, "there is no max_exp_avg_sq");
  OK(fs_free(w->opt, E));
  free(w);
}

static int threads(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static long resident(void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (fscanf(f, "%*d %ld", &pages) != 1) pages = -1;
  fclose(f);
  return pages * 4;
}

static void *many(void *unused) {
  (void)unused;
  world *w = calloc(1, sizeof *w);
  char text[512];
  const size_t lengths[N] = {LENGTH, 1, LENGTH / 2};
  for (int i = 0; i < N; i++) w->values[i] = w->x[i], w->gradients[i] = w->g[i];
  for (int k = 0; k < 20; k++) {
    fs_group g = {.n = N, .lengths = lengths, .values = w->values, .value_type = FS_F32};
    int rc = fs_new(dev, "Adam", &w->opt, text, sizeof text);
    if (!rc) rc = fs_add_group(w->opt, &g, text, sizeof text);
    for (int i = 0; i < 30 && !rc; i++) {
      void *const *rows[5] = {NULL, w->gradients};
      rc = fs_step(w->opt, &(fs_args){.rows = rows}, text, sizeof text);
    }
    if (!rc) rc = fs_free(w->opt, text, sizeof text);
    if (rc) return strdup(text);
  }
  free(w);
  return NULL;
}

static world shared;

static void *together(void *unused) {
  (void)unused;
  char text[512];
  for (int i = 0; i < 50; i++) {
    void *const *rows[5] = {NULL, shared.gradients};
    if (fs_step(shared.opt, &(fs_args){.rows = rows}, text, sizeof text)) return strdup(text);
  }
  return NULL;
}

static void check_threads(void) {
  pthread_t t[8];
  void *text;
  OK(make(&shared, "SGD", NULL));
  for (int i = 0; i < 8; i++) pthread_create(&t[i], NULL, i % 2 ? many : together, NULL);
  for (int i = 0; i < 8; i++) {
    pthread_join(t[i], &text);
    EXPECT(!text, "a thread fails: %s", (char *)text);
  }
  double counters[N];
  OK(fs_counters(shared.opt, 0, counters, E));
  float want = 1;
  for (int i = 0; i < 200; i++) want -= 0.001f * 0.5f;
  EXPECT(shared.x[0][0] == want, "200 steps of 4 threads come to %g, not %g", shared.x[0][0], want);
  OK(fs_free(shared.opt, E));
}

static void check_memory(void) {
  world *w = calloc(1, sizeof *w);
  OK(make(w, "AdamW", NULL));
  long before = 0, grown;
  for (int i = 0; i < 3000; i++) {
    if (i == 1000) before = resident();
    for (int k = 0; k < N; k++) w->gradients[k] = memcpy(malloc(sizeof w->g[k]), w->g[k], sizeof w->g[k]);
    OK(step(w, (fs_args){.max_norm = 1}));
    for (int k = 0; k < N; k++) free(w->gradients[k]);
    for (int k = 0; k < N; k++) w->gradients[k] = w->g[k];
  }
  OK(fs_free(w->opt, E));
  for (int i = 0; i < 500; i++) {
    OK(make(w, "AdamW", NULL));
    OK(step(w, (fs_args){0}));
    OK(fs_free(w->opt, E));
  }
  grown = resident() - before;
  EXPECT(grown < 16 << 10, "memory has grown by %ld KiB", grown);
  free(w);
}

static volatile sig_atomic_t interrupted;
static void interrupt(int s) { interrupted = s; }

static void check_signals(void) {
  struct sigaction now;
  sigaction(SIGINT, NULL, &now);
  EXPECT(now.sa_handler == SIG_DFL, "SIGINT is taken");
  sigaction(SIGTERM, NULL, &now);
  EXPECT(now.sa_handler == SIG_DFL, "SIGTERM is taken");
  signal(SIGINT, interrupt);
  raise(SIGINT);
  EXPECT(interrupted == SIGINT, "the host's handler of SIGINT is not called");
  signal(SIGINT, SIG_DFL);
}

static void check_fork(void) {
  world *w = calloc(1, sizeof *w);
  OK(make(w, "SGD", NULL));
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    alarm(10); /* it must not hang */
    failed = 0;
    FAILS(step(w, (fs_args){0}), FS_FORKED, "cannot be used in it");
    FAILS(fs_add_group(w->opt, NULL, E), FS_FORKED, "forked");
    fs_handle h;
    FAILS(fs_device(1, &h, E), FS_FORKED, "forked");
    OK(fs_free(w->opt, E));
    EXPECT(fs_version() != NULL, "what is known is known");
    fflush(stdout);
    _exit(failed);
  }
  int status;
  waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ends with status %#x", status);
  child = fork(); /* one that does not call */
  if (!child) _exit(0);
  waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child that does not call ends with status %#x", status);
  OK(step(w, (fs_args){0}));
  OK(fs_free(w->opt, E));
  free(w);
}

/* The momentum of SGD, in a file of one's own. */
static const char momentum[] =
    "package mine\n"
    "import \"github.com/fusestep/fusestep/kernels/rule\"\n"
    "type Elem[F rule.Float] struct {\n"
    "	P F `slot:\"param\"`\n"
    "	G F `slot:\"grad\"`\n"
    "	M F `slot:\"momentum_buffer\"`\n"
    "}\n"
    "type Scalars[F rule.Float] struct{ LR, Beta F }\n"
    "type Options struct{ Nesterov bool }\n"
    "func Step[F rule.Float](e *Elem[F], s *Scalars[F], o Options) {\n"
    "	e.M = rule.Flush(F(s.Beta*e.M) + e.G)\n"
    "	g := e.M\n"
    "	if o.Nesterov {\n"
    "		g = e.G + F(s.Beta*e.M)\n"
    "	}\n"
    "	e.P -= F(s.LR * g)\n"
    "}\n"
    "type Momentum struct{ LR, Beta float64 }\n"
    "func Prologue(h *Momentum, _ *struct{}, s *Scalars[float64], _ Options) { s.LR, s.Beta = h.LR, h.Beta }\n";

static void check_rule(void) {
  char algorithm[1024] = "", again[1024] = "";
  size_t len = 4;
  OK(fs_rule("momentum.go", momentum, "Prologue", "Step", algorithm, &len, E));
  EXPECT(len > 4 && len < sizeof algorithm && !algorithm[0], "its length is %zu", len);
  OK(fs_rule("momentum.go", momentum, "Prologue", "Step", algorithm, &len, E));
  OK(fs_rule("momentum.go", momentum, "Prologue", "Step", again, &len, E));
  EXPECT(!strcmp(algorithm, again) && strlen(again) + 1 == len, "a rule is another one when it is read again");
  EXPECT(strstr(algorithm, "\"hyper\":[\"lr\",\"beta\",\"nesterov\",\"maximize\"],\"slots\":[\"momentum_buffer\"]"), "it is %s", algorithm);
  char name[64] = "";
  sscanf(algorithm, "{\"name\":\"%63[^\"]\"", name);
  world *mine = calloc(1, sizeof *mine), *sgd = calloc(1, sizeof *sgd);
  FAILS(make(mine, name, NULL), FS_HYPERPARAMETER, "step: lr is NaN, must be at least 0");
  static const size_t lengths[N] = {LENGTH, 1, LENGTH / 2};
  double hyper[2][32] = {{0.1, 0.9, 1, 0}};
  size_t n = 32, at;
  OK(fs_defaults("SGD", hyper[1], &n, E));
  const char *names[] = {"lr", "momentum", "nesterov"};
  for (int i = 0; i < 3; i++) {
    OK(fs_index("SGD", names[i], &at, E));
    hyper[1][at] = hyper[0][i];
  }
  for (int k = 0; k < 2; k++) {
    world *w = k ? sgd : mine;
    OK(make(w, "SGD", NULL)); /* for its tensors */
    OK(fs_free(w->opt, E));
    OK(fs_new(dev, k ? "SGD" : name, &w->opt, E));
    fs_group g = {.n = N, .lengths = lengths, .values = w->values, .value_type = FS_F32, .hyper = hyper[k]};
    OK(fs_add_group(w->opt, &g, E));
    for (int i = 0; i < 5; i++) {
      for (int j = 0; j < LENGTH; j++) w->g[0][j] = (float)((i * j) % 17) / 8 - 1;
      OK(step(w, (fs_args){.max_tensor_norm = 2}));
    }
    OK(fs_free(w->opt, E));
  }
  EXPECT(!memcmp(mine->x, sgd->x, sizeof mine->x), "the rule is not SGD's");
  EXPECT(mine->x[0][1] != 1, "there is no step");
  free(mine);
  free(sgd);
  FAILS(fs_rule("mine.go", "package mine\nfunc Step() {}\n", "Prologue", "Step", again, &len, E), FS_RULE, "mine.go:2:");
  FAILS(fs_rule("mine.go", momentum, "Prologue", "Steps", again, &len, E), FS_RULE, "Steps");
  FAILS(fs_rule("mine.go", "package", "Prologue", "Step", again, &len, E), FS_RULE, "mine.go:1:8");
  FAILS(fs_rule(NULL, momentum, "Prologue", "Step", again, &len, E), FS_ARGUMENT, "is NULL");
}

static void check_tensor_norm(void) {
  world *w = calloc(1, sizeof *w);
  OK(make(w, "SGD", NULL));
  double norm;
  OK(step(w, (fs_args){.max_tensor_norm = 0.25, .grad_norm = &norm}));
  EXPECT(norm * norm > 1501 / 4.0 - 1e-9 && norm * norm < 1501 / 4.0 + 1e-9, "the norm is %g", norm);
  float factor = (float)(0.25 / (0.5 + 1e-6)); /* of the tensor of one element */
  EXPECT(w->x[1][0] == 1 - 0.001f * (0.5f * factor), "it is clipped to %g", w->x[1][0]);
  EXPECT(w->x[0][0] > w->x[1][0], "the longer the tensor, the more");
  FAILS(step(w, (fs_args){.max_tensor_norm = -1}), FS_HYPERPARAMETER, "max_norm is -1");
  OK(fs_free(w->opt, E));
  free(w);
}

/* The gradients are clipped to a quarter of the norms of rows of ones. */
static void check_adaptive_clip(void) {
  enum { ROWS = 20, COLUMNS = LENGTH / ROWS };
  static const size_t lengths[N] = {LENGTH, 1, LENGTH / 2}, rows[N] = {ROWS, 0, 0};
  world *w = calloc(1, sizeof *w);
  OK(fs_new(dev, "SGD", &w->opt, E));
  for (int k = 0; k < N; k++) {
    w->values[k] = w->x[k];
    w->gradients[k] = w->g[k];
    for (size_t i = 0; i < lengths[k]; i++) {
      w->x[k][i] = 1;
      w->g[k][i] = k == 0 && i / COLUMNS % 2 ? 0.125f : 2;
    }
  }
  fs_group g = {.n = N, .lengths = lengths, .values = w->values, .value_type = FS_F32, .matrix_rows = rows};
  OK(fs_add_group(w->opt, &g, E));
  OK(step(w, (fs_args){.adaptive_clip = 0.25, .adaptive_eps = 1e-3}));
  EXPECT(w->x[0][0] > 0.9997499f && w->x[0][0] < 0.9997501f, "a row is clipped to %g", w->x[0][0]);
  EXPECT(w->x[0][COLUMNS] == 1 - 0.001f * 0.125f, "a row that need not be is clipped to %g", w->x[0][COLUMNS]);
  EXPECT(w->x[1][0] == 1 - 0.001f * 0.25f, "a tensor is clipped to %g", w->x[1][0]);
  FAILS(step(w, (fs_args){.adaptive_clip = -1}), FS_HYPERPARAMETER, "clipping is -1");
  float before = w->x[1][0];
  OK(step(w, (fs_args){0}));
  EXPECT(w->x[1][0] == before - 0.001f * 2, "it is off again, and leaves %g", w->x[1][0]);
  OK(fs_free(w->opt, E));
  free(w);
}

/* Adafactor of two matrices and a vector: with state of the library's, and with state of ours, which moves, between numbers that nobody may write. */
static void check_matrices(void) {
  enum { ROWS = 20, COLUMNS = LENGTH / ROWS, HALF = 25 };
  static const size_t lengths[N] = {LENGTH, 1, LENGTH / 2}, rows[N] = {ROWS, 0, HALF}, wrong[N] = {ROWS, 0, 3};
  world *w[2] = {calloc(1, sizeof *w[0]), calloc(1, sizeof *w[0])};
  struct {
    float before, rows[ROWS], between, columns[COLUMNS], behind, of_vector[1], half_rows[HALF], last, half_columns[LENGTH / 2 / HALF], end;
  } state = {.before = 7, .between = 7, .behind = 7, .last = 7, .end = 7}, moved;
  void *variance[2][N] = {{NULL, state.of_vector, NULL}, {NULL, moved.of_vector, NULL}};
  void *row_var[2][N] = {{state.rows, NULL, state.half_rows}, {moved.rows, NULL, moved.half_rows}};
  void *col_var[2][N] = {{state.columns, NULL, state.half_columns}, {moved.columns, NULL, moved.half_columns}};
  void *const *given[4] = {NULL, variance[0], row_var[0], col_var[0]};
  for (int k = 0; k < 2; k++) {
    OK(make(w[k], "SGD", NULL)); /* for its tensors */
    OK(fs_free(w[k]->opt, E));
    OK(fs_new(dev, "Adafactor", &w[k]->opt, E));
    fs_group g = {.n = N, .lengths = lengths, .values = w[k]->values, .value_type = FS_F32, .state = k ? given : NULL, .matrix_rows = wrong};
    FAILS(fs_add_group(w[k]->opt, &g, E), FS_TENSOR, "tensor \"0.2\": 3 rows do not divide 500 elements");
    g.matrix_rows = NULL;
    if (k) FAILS(fs_add_group(w[k]->opt, &g, E), FS_STATE, "tensor \"0.0\": state variance is needed, and not given");
    g.matrix_rows = rows;
    OK(fs_add_group(w[k]->opt, &g, E));
    for (int i = 0; i < 3; i++) {
      for (int j = 0; j < LENGTH; j++) w[k]->g[0][j] = (float)((i * j) % 17) / 8 - 1;
      void *const *table[6] = {NULL, w[k]->gradients};
      if (k && i == 2) {
        moved = state;
        memset(&state, 0, sizeof state);
        table[3] = variance[1], table[4] = row_var[1], table[5] = col_var[1];
      }
      OK(fs_step(w[k]->opt, &(fs_args){.rows = table}, E));
    }
  }
  EXPECT(!memcmp(w[0]->x, w[1]->x, sizeof w[0]->x), "state of ours makes another step");
  EXPECT(w[0]->x[0][1] != 1 && w[0]->x[1][0] != 1 && w[0]->x[2][499] != 1, "there is no step");
  void *at[N];
  OK(fs_row(w[0]->opt, 0, 4, at, E));
  EXPECT(!at[1] && !memcmp(at[0], moved.rows, sizeof moved.rows), "row_var is another");
  OK(fs_row(w[0]->opt, 0, 5, at, E));
  EXPECT(!at[1] && !memcmp(at[2], moved.half_columns, sizeof moved.half_columns), "col_var is another");
  EXPECT(moved.half_columns[0] > 0.2499999f && moved.half_columns[0] < 0.2500001f, "the mean of 0.5's squares is %g", moved.half_columns[0]);
  EXPECT(moved.before == 7 && moved.between == 7 && moved.behind == 7 && moved.last == 7 && moved.end == 7, "a step has written beside its state");
  EXPECT(state.rows[0] == 0 && state.half_columns[0] == 0, "a step has written to where state was");
  for (int k = 0; k < 2; k++) {
    OK(fs_free(w[k]->opt, E));
    free(w[k]);
  }
}

static void check_device(void) {
  world *w = calloc(1, sizeof *w);
  fs_handle first = dev;
  OK(fs_device(2, &dev, E));
  OK(make(w, "SGD", NULL));
  OK(fs_free(dev, E));
  FAILS(fs_new(dev, "SGD", &w->opt, E), FS_HANDLE, "was freed");
  OK(step(w, (fs_args){0}));
  OK(fs_free(w->opt, E));
  dev = first;
  free(w);
}

static int lent;

typedef struct {
  pthread_t thread;
  void (*work)(void *, int);
  void *arg;
  int i;
} helper;

static void *help(void *x) {
  helper *h = x;
  h->work(h->arg, h->i);
  return NULL;
}

static void parallel(int n, void (*work)(void *, int), void *arg) {
  helper helpers[8];
  EXPECT(n == 2, "it is asked for %d threads", n);
  lent++;
  for (int i = 1; i < n; i++) {
    helpers[i] = (helper){.work = work, .arg = arg, .i = i};
    pthread_create(&helpers[i].thread, NULL, help, &helpers[i]);
  }
  work(arg, 0);
  for (int i = 1; i < n; i++) pthread_join(helpers[i].thread, NULL);
}

/* A step on threads of ours has the bits of one on the library's. */
static void check_lent(void) {
  enum { LONG = 300000 };
  size_t length = LONG;
  fs_handle none;
  float *x[2], *g = malloc(LONG * sizeof *g);
  FAILS(fs_device_on(2, NULL, &none, E), FS_ARGUMENT, "parallel is NULL");
  for (int i = 0; i < LONG; i++) g[i] = (float)(i % 1001) / 1000 - 0.3f;
  for (int k = 0; k < 2; k++) {
    fs_handle on, opt;
    x[k] = malloc(LONG * sizeof *g);
    for (int i = 0; i < LONG; i++) x[k][i] = 1;
    if (k) OK(fs_device_on(2, parallel, &on, E));
    else OK(fs_device(1, &on, E));
    OK(fs_new(on, "AdamW", &opt, E));
    void *values[] = {x[k]}, *gradients[] = {g}, *const *rows[8] = {NULL, gradients};
    OK(fs_add_group(opt, &(fs_group){.n = 1, .lengths = &length, .values = values, .value_type = FS_F32}, E));
    for (int i = 0; i < 3; i++) OK(fs_step(opt, &(fs_args){.rows = rows, .max_norm = 1}, E));
    OK(fs_free(opt, E));
    OK(fs_free(on, E));
  }
  EXPECT(!memcmp(x[0], x[1], LONG * sizeof *g) && x[0][5] != 1, "other bits");
  EXPECT(lent > 0 || sysconf(_SC_NPROCESSORS_ONLN) < 2, "threads are not lent");
  free(x[0]), free(x[1]), free(g);
}

/* Loading starts nothing, and a child that is forked before the first call may call. It must be called first. */
static void check_start(void) {
  EXPECT(threads() == 1, "loading has started threads: there are %d", threads());
  struct sigaction now;
  sigaction(SIGPIPE, NULL, &now);
  EXPECT(now.sa_handler == SIG_DFL, "loading has taken SIGPIPE");
  fflush(stdout);
  pid_t child = fork();
  if (!child) {
    alarm(10);
    OK(fs_device(2, &dev, E));
    check_steps();
    fflush(stdout);
    _exit(failed);
  }
  int status;
  waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child of before ends with status %#x", status);
}

int main(void) {
  check_start();
  EXPECT(fs_version() && fs_describe() && fs_describe() == fs_describe(), "texts stay");
  OK(fs_device(2, &dev, E));
  check_errors();
  check_steps();
  check_device();
  check_lent();
  check_rule();
  check_tensor_norm();
  check_adaptive_clip();
  check_matrices();
  check_signals();
  check_threads();
  int before = threads();
  check_memory();
  EXPECT(threads() <= before + 2, "there were %d threads, and are %d", before, threads());
  check_fork();
  OK(fs_free(dev, E));
  return failed;
}
