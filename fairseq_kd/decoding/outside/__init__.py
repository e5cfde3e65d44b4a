"""Teachers of other makers: CTranslate2 and Hugging Face folders, and the profiles that say how they take text."""
