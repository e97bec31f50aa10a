"""placeholder"""
def write(settings, search, results, source, command, directory):
    from larpo_lib.artifacts import write_json
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory/'results.json', results)
    return ""
