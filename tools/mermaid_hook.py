"""For MkDocs: puts Mermaid, which draws the diagrams, into the site, so that it needs no CDN.

The script is a file of Mermaid's WebJar from Maven Central, fetched once into the cache of QuestDB's jar, its SHA-256
checked at each build.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from oms.embedded.fetch import Jar, fetch
from oms.embedded.questdb import cache_folder

VERSION = "11.6.0"
MERMAID = Jar("org.webjars.npm", "mermaid", VERSION, "b5431370e8cfa44471ec075f4a6002a1f9b9d97ee534c4e4d693c9c85a0ccba7")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the script to the files of the site."""
    try:
        jar = fetch(cache_folder(Path("data")), MERMAID)
    except Exception as error:
        raise PluginError(
            f"Mermaid's WebJar cannot be fetched from Maven Central ({type(error).__name__}: {error}). It is needed "
            "once; try again where there is a network."
        ) from error
    with zipfile.ZipFile(jar) as archive:
        script = archive.read(f"META-INF/resources/webjars/mermaid/{VERSION}/dist/mermaid.min.js")
    files.append(File.generated(config, "assets/mermaid.min.js", content=script))
    return files
