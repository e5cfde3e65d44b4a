"""Speed and memory beside fairseq's and sacreBLEU's own."""
