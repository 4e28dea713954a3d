#include "process/completion.h"

#include "process/commands.h"

/* What stands behind a command, or an option: files; a fixed list of words; or nothing that could be known. */
static const char *words_for(const char *takes)
{
    if (!takes)
        return NULL;
    if (strcmp(takes, "SHELL") == 0)
        return "bash zsh fish";
    if (strcmp(takes, "plugin") == 0)
        return "plugin";
    return NULL;
}

static bool is_file(const char *takes)
{
    return takes && (strcmp(takes, "SCRIPT") == 0 || strcmp(takes, "FILE") == 0 || strcmp(takes, "PATH") == 0);
}

static bool is_folder(const char *takes)
{
    return takes && strcmp(takes, "FOLDER") == 0;
}

static const char *taken(const gw_command_row *row)
{
    return row->takes ? row->takes : row->may_take ? row->may_take : row->rest;
}

/* ---- bash ---- */

static void bash_words(FILE *out, const char *takes)
{
    const char *words = words_for(takes);
    if (words)
        fprintf(out, "        mapfile -t COMPREPLY < <(compgen -W \"%s\" -- \"$word\")\n", words);
    else if (is_file(takes))
        fputs("        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n", out);
    else if (is_folder(takes))
        fputs("        mapfile -t COMPREPLY < <(compgen -d -- \"$word\")\n", out);
    else
        fputs("        COMPREPLY=()\n", out);
}

static void bash(FILE *out)
{
    fputs("# bash completion of gateway\n"
          "_gateway() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command=${COMP_WORDS[1]}\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -f -W \"",
          out);
    for (size_t i = 0; i < gw_command_count; i++)
        fprintf(out, "%s ", gw_commands[i].word);
    fputs("--help --version\" -- \"$word\")\n"
          "        return\n"
          "    fi\n"
          "    case $command:$before in\n",
          out);
    for (size_t i = 0; i < gw_command_count; i++) {
        for (const gw_command_option *o = gw_commands[i].options; o && o->name; o++) {
            if (!o->takes)
                continue;
            fprintf(out, "    %s:%s)\n", gw_commands[i].word, o->name);
            bash_words(out, o->takes);
            fputs("        return ;;\n", out);
        }
    }
    fputs("    esac\n"
          "    case $command:$word in\n",
          out);
    for (size_t i = 0; i < gw_command_count; i++) {
        fprintf(out, "    %s:-*)\n        mapfile -t COMPREPLY < <(compgen -W \"", gw_commands[i].word);
        for (const gw_command_option *o = gw_commands[i].options; o && o->name; o++)
            fprintf(out, "%s ", o->name);
        fprintf(out, "--help\" -- \"$word\") ;;\n    %s:*)\n", gw_commands[i].word);
        bash_words(out, taken(&gw_commands[i]));
        fputs("        ;;\n", out);
    }
    fputs("    esac\n"
          "}\n"
          "complete -o filenames -F _gateway gateway\n",
          out);
}

/* ---- zsh ---- */

/* Text between single quotes and brackets of _arguments. */
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\'", out);
        else if (strchr("[]:\\", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void zsh_taken(FILE *out, const char *takes)
{
    const char *words = words_for(takes);
    fprintf(out, ":%s:", takes);
    if (words)
        fprintf(out, "(%s)", words);
    else if (is_file(takes))
        fputs("_files", out);
    else if (is_folder(takes))
        fputs("_files -/", out);
}

static void zsh(FILE *out)
{
    fputs("#compdef gateway\n"
          "_gateway() {\n"
          "    local -a commands\n"
          "    commands=(\n",
          out);
    for (size_t i = 0; i < gw_command_count; i++) {
        fprintf(out, "        '%s:", gw_commands[i].word);
        zsh_text(out, gw_commands[i].summary);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _describe command commands\n"
          "        _files\n"
          "        return\n"
          "    fi\n"
          "    local command=$words[2]\n"
          "    shift words\n"
          "    (( CURRENT-- ))\n"
          "    case $command in\n",
          out);
    for (size_t i = 0; i < gw_command_count; i++) {
        const gw_command_row *row = &gw_commands[i];
        fprintf(out, "    %s)\n        _arguments '--help[say more]'", row->word);
        for (const gw_command_option *o = row->options; o && o->name; o++) {
            fprintf(out, " '%s%s[", o->name, o->takes ? "=" : "");
            zsh_text(out, o->help);
            fputc(']', out);
            if (o->takes)
                zsh_taken(out, o->takes);
            fputc('\'', out);
        }
        if (taken(row)) {
            fputs(row->rest ? " '*" : " '1", out);
            zsh_taken(out, taken(row));
            fputc('\'', out);
        }
        fputs(" ;;\n", out);
    }
    fputs("    esac\n"
          "}\n"
          "_gateway \"$@\"\n",
          out);
}

/* ---- fish ---- */

static void fish_text(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void fish(FILE *out)
{
    fputs("# fish completion of gateway\n"
          "complete -c gateway -l help -d 'say more'\n"
          "complete -c gateway -n __fish_use_subcommand -l version -d 'print the version'\n",
          out);
    for (size_t i = 0; i < gw_command_count; i++) {
        const gw_command_row *row = &gw_commands[i];
        fprintf(out, "complete -c gateway -n __fish_use_subcommand -a %s -d ", row->word);
        fish_text(out, row->summary);
        fputc('\n', out);
        const char *words = words_for(taken(row));
        if (words)
            fprintf(out, "complete -c gateway -n '__fish_seen_subcommand_from %s' -f -a '%s'\n", row->word, words);
        else if (!is_file(taken(row)) && !is_folder(taken(row)))
            fprintf(out, "complete -c gateway -n '__fish_seen_subcommand_from %s' -f\n", row->word);
        for (const gw_command_option *o = row->options; o && o->name; o++) {
            fprintf(out, "complete -c gateway -n '__fish_seen_subcommand_from %s' -l %s%s -d ", row->word, o->name + 2,
                    !o->takes           ? ""
                    : is_file(o->takes) ? " -r -F"
                                        : " -x");
            fish_text(out, o->help);
            fputc('\n', out);
        }
    }
}

bool gw_completion_write(const char *shell, FILE *out)
{
    static const struct {
        const char *name;
        void (*write)(FILE *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < GW_COUNT(shells); i++) {
        if (strcmp(shell, shells[i].name) == 0) {
            shells[i].write(out);
            return true;
        }
    }
    return false;
}
