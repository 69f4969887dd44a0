/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: run, check, probe, ctl, pki. Each command lives elsewhere; here
 * are words and exit statuses.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tieline/control.h"
#include "tieline/ctl.h"
#include "tieline/pki.h"
#include "tieline/str.h"

#define SOCKET_DEFAULT "/run/tieline/tieline.sock"

static const char usage_text[] = "usage: tieline run -c FILE [--workers N] [--handshakers N]\n"
                                 "       tieline check -c FILE [--explain]\n"
                                 "       tieline probe\n"
                                 "       tieline ctl [-s SOCKET] COMMAND [ARGUMENT...] [--json]\n"
                                 "       tieline pki COMMAND [OPTION...]\n"
                                 "       tieline --version | --help\n";

static const char help_text[] =
    "\n"
    "A SIP proxy whose TLS records the kernel seals and opens.\n"
    "\n"
    "  run      serve in the foreground; SIGHUP reloads, SIGTERM drains and stops\n"
    "             -c, --config FILE   the configuration\n"
    "             --workers N         threads that forward messages\n"
    "             --handshakers N     threads that do TLS handshakes\n"
    "  check    validate a configuration and print it with every default filled in\n"
    "             --explain           with the reason of each option\n"
    "  probe    what this kernel can do, and what to do about what it cannot\n"
    "  ctl      look inside a running daemon; `ctl help` lists the commands\n"
    "             -s, --socket FILE   its control socket (" SOCKET_DEFAULT ")\n"
    "             --json              the answer for programs\n"
    "  pki      certificates for a laboratory; `pki help` tells how\n"
    "\n"
    "Exit status: 0 success; 1 failure, a refused configuration or a wrong command line;\n"
    "2 (ctl) no daemon answers.\n";

static int print_usage(void) {
  fputs(usage_text, stderr);
  return 1;
}

static bool parse_threads(const char *name, const char *text, unsigned *out) {
  uint64_t n = 0;
  if (tl_str_u64(tl_str_c(text), TL_THREADS_MAX, &n) == 0 && n > 0) {
    *out = (unsigned)n;
    return true;
  }
  fprintf(stderr, "tieline: --%s takes a number from 1 to %d\n", name, TL_THREADS_MAX);
  return false;
}

static int main_run(int argc, char **argv) {
  static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {"handshakers", required_argument, NULL, 'n'},
                                          {NULL, 0, NULL, 0}};
  struct tl_run_options o = {0};
  int opt;
  while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
    if (opt == 'c')
      o.file = optarg;
    else if (opt == 'w' && parse_threads("workers", optarg, &o.workers))
      continue;
    else if (opt == 'n' && parse_threads("handshakers", optarg, &o.handshakers))
      continue;
    else
      return print_usage();
  }
  if (!o.file || optind != argc) return print_usage();
  return tl_daemon_run(&o);
}

static int main_check(int argc, char **argv) {
  static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                          {"explain", no_argument, NULL, 'e'},
                                          {NULL, 0, NULL, 0}};
  const char *file = NULL;
  bool explain = false;
  int opt;
  while ((opt = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
    if (opt == 'c')
      file = optarg;
    else if (opt == 'e')
      explain = true;
    else
      return print_usage();
  }
  if (!file || optind != argc) return print_usage();
  return tl_daemon_check(file, explain);
}

static int main_probe(int argc, char **argv) {
  (void)argv;
  return argc == 1 ? tl_probe_print(stdout) : print_usage();
}

static int main_ctl(int argc, char **argv) {
  static const struct option options[] = {{"socket", required_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
  const char *socket = SOCKET_DEFAULT;
  bool json = false;
  int opt;
  /* "+": what follows the command is the command's. */
  while ((opt = getopt_long(argc, argv, "+s:", options, NULL)) != -1) {
    if (opt == 's')
      socket = optarg;
    else if (opt == 'j')
      json = true;
    else
      return print_usage();
  }
  return tl_ctl_main(socket, argc - optind, argv + optind, json);
}

static int main_version(int argc, char **argv) {
  (void)argc, (void)argv;
  tl_daemon_version(stdout);
  return 0;
}

static int main_help(int argc, char **argv) {
  (void)argc, (void)argv;
  fputs(usage_text, stdout);
  fputs(help_text, stdout);
  return 0;
}

static const struct {
  const char *name;
  int (*fn)(int argc, char **argv);
} commands[] = {{"run", main_run},         {"check", main_check}, {"probe", main_probe},
                {"ctl", main_ctl},         {"pki", tl_pki_main},  {"--version", main_version},
                {"version", main_version}, {"-V", main_version},  {"--help", main_help},
                {"help", main_help},       {"-h", main_help}};

int main(int argc, char **argv) {
  if (argc < 2) return print_usage();
  signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error code, not an end */
  for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
    if (strcmp(argv[1], commands[i].name) == 0) {
      argv[1] = argv[0]; /* getopt names it in its complaints */
      return commands[i].fn(argc - 1, argv + 1);
    }
  fprintf(stderr, "tieline: no command \"%s\"\n", argv[1]);
  return print_usage();
}
