#include "process/options.h"

#include "process/commands.h"
#include <unistd.h>

static bool is(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || (b && strcmp(word, b) == 0);
}

static int wrong(FILE *err, const char *what, const char *word, const char *command)
{
    fprintf(err, word ? "gateway: %s \"%s\"\n" : "gateway: %s\n", what, word);
    if (command)
        fprintf(err, "try: gateway %s --help\n", command);
    else
        fprintf(err, "try: gateway --help\n");
    return GW_INVALID;
}

/* `format` takes what the command wants, and a word. */
__attribute__((format(printf, 2, 0))) static int wrong_word(FILE *err, const char *format, const char *takes, const char *word,
                                                            const char *command)
{
    fprintf(err, "gateway: ");
    fprintf(err, format, takes ? takes : "NAME", word);
    fprintf(err, "try: gateway %s%s--help\n", command ? command : "", command ? " " : "");
    return GW_INVALID;
}

/* An option of the command, with its value: in the same word behind "=", or the next one. Takes *at on to the last word it used. */
static int take_option(const gw_command_row *row, int argc, char *const argv[], int *at, gw_options *options, FILE *err)
{
    const char *word = argv[*at], *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    for (const gw_command_option *o = row ? row->options : NULL; o && o->name; o++) {
        if (strlen(o->name) != len || strncmp(o->name, word, len) != 0)
            continue;
        void *member = (char *)options + o->at;
        if (!o->takes) {
            if (equals)
                return wrong(err, "an option that takes no value:", word, row->word);
            *(bool *)member = true;
            return GW_OK;
        }
        const char *value = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : "";
        if (*value == '\0')
            return wrong(err, "a value is expected behind", o->name, row->word);
        if (o->several) {
            gw_option_list *list = member;
            if (list->count == GW_OPTION_LIST_MOST)
                return wrong(err, "too often:", o->name, row->word);
            list->value[list->count++] = value;
            return GW_OK;
        }
        memcpy(member, &value, sizeof value);
        return GW_OK;
    }
    return wrong(err, "unknown option", word, row ? row->word : NULL);
}

static const gw_command_row *find_command(const char *word)
{
    for (size_t i = 0; i < gw_command_count; i++)
        if (strcmp(word, gw_commands[i].word) == 0)
            return &gw_commands[i];
    return NULL;
}

/* The edit distance between two words (Levenshtein), as far as it matters: words are cut at 15 characters. */
static size_t distance(const char *a, const char *b)
{
    size_t m = strnlen(a, 15), n = strnlen(b, 15), row[16];
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t above_left = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = above_left + (a[i - 1] != b[j - 1]);
            above_left = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown_command(FILE *err, const char *word)
{
    const char *near = NULL;
    size_t best = strlen(word) > 3 ? 3 : 2;
    for (size_t i = 0; i < gw_command_count; i++) {
        size_t d = distance(word, gw_commands[i].word);
        if (d < best) {
            best = d;
            near = gw_commands[i].word;
        }
    }
    fprintf(err, near ? "gateway: unknown command \"%s\" (did you mean \"%s\"?)\n" : "gateway: unknown command \"%s\"\n", word,
            near);
    fprintf(err, "try: gateway --help\n");
    return GW_INVALID;
}

/* What a command's options ask for, taken together. */
static int check_options(const gw_command_row *row, const gw_options *o, FILE *err)
{
    if (o->token && o->token_file)
        return wrong(err, "--token and --token-file: one of them is expected", NULL, row->word);
    if (row->command == GW_COMMAND_DRAIN && (!o->upstream != !o->endpoint || (o->undo && !o->endpoint)))
        return wrong(err, "--upstream and --endpoint are expected together", NULL, row->word);
    if (row->command == GW_COMMAND_RELOAD) {
        bool more = o->lasts || o->least || o->candidate || o->abort_if.count || o->no_wait;
        if ((o->promote && o->back) || ((o->promote || o->back) && (o->share || more)))
            return wrong(err, "--promote and --back end a staged reload: nothing goes with them", NULL, row->word);
        if (more && !o->share)
            return wrong(err, "--share is expected: a staged reload begins with a part of the clients", NULL, row->word);
    }
    return GW_OK;
}

int gw_options_parse(int argc, char *const argv[], gw_options *options, FILE *out, FILE *err)
{
    *options = (gw_options){.command = GW_COMMAND_RUN};
    const gw_command_row *row = argc > 1 ? find_command(argv[1]) : NULL;
    const char *command = row ? row->word : NULL, *takes = row ? row->takes : "SCRIPT";
    if (row) {
        options->command = row->command;
        if (row->rest && !(argc > 2 && is(argv[2], "--help", "-h"))) {
            options->rest = argv + 2;
            options->rest_count = argc - 2;
            return GW_OK;
        }
    }
    bool only_files = false; /* after "--" */
    for (int at = row ? 2 : 1; at < argc; at++) {
        const char *word = argv[at];
        if (!only_files && strcmp(word, "--") == 0) {
            only_files = true;
        } else if (!only_files && is(word, "--help", "-h")) {
            fputs(row ? row->help : gw_main_help, out);
            options->command = GW_COMMAND_DONE;
            return GW_OK;
        } else if (!only_files && !command && is(word, "--version", "-V")) {
            fputs("gateway " GW_VERSION "\n", out);
            options->command = GW_COMMAND_DONE;
            return GW_OK;
        } else if (!only_files && word[0] == '-' && word[1] != '\0') {
            if (take_option(row, argc, argv, &at, options, err) < 0)
                return GW_INVALID;
        } else if (row && !row->takes && !row->may_take) {
            return wrong(err, "no word is expected behind the command, found", word, command);
        } else if (options->script) {
            if (!command && !strpbrk(options->script, "./"))
                return unknown_command(err, options->script);
            return wrong_word(err, "one %s is expected, found a second one, \"%s\"\n", takes, word, command);
        } else if (word[0] == '\0') {
            return wrong_word(err, "%s is an empty word%s\n", takes, "", command);
        } else {
            options->script = word;
        }
    }
    if (options->script && !command && !strpbrk(options->script, "./") && access(options->script, F_OK) != 0)
        return unknown_command(err, options->script); /* a script, by all rules; but there is none */
    if (!options->script && takes)
        return command ? wrong_word(err, "a %s is expected behind the command%s\n", takes, "", command)
                       : wrong(err, "a SCRIPT or a command is expected", NULL, NULL);
    return row ? check_options(row, options, err) : GW_OK;
}
