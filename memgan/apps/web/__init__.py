"""The page on which people restore their photographs: who may open it, and where their files lie."""
