"""check: Document → Flow. ``words`` declares the language, ``check`` walks it, ``model`` is what comes out."""
