# Reference values for fits of subsets of published effects: each effect left out, effects added
# by year, all subsets of seven, and a meta-regression on parts of the rows.
# Rscript tests/reference/subsets.R > tests/reference/subsets.json
# The inputs are part of the file. Needs metafor, metadat.

suppressMessages(library(metafor))

# REML, ML and EB converge to 1e-5 in metafor and PM to 1e-4 unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5, tol = 1e-15)

number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, width = 1, format = "g"), "null")
}
vector_ <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
matrix_ <- function(x) paste0("[", paste(apply(x, 1, vector_), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
object <- function(...) {
  items <- unlist(list(...))
  paste0("{", paste0(quote_(names(items)), ": ", items, collapse = ", "), "}")
}

published <- function(y, v, year, x) {
  data.frame(y = as.numeric(y), v = as.numeric(v), year = as.numeric(year), x = as.numeric(x))
}
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
adherence <- escalc("ZCOR", ri = ri, ni = ni, data = dat.molloy2014)
sets <- list(
  bcg = with(bcg, published(yi, vi, year, ablat)),
  adherence = with(adherence, published(yi, vi, year, quality)),
  expectancy = with(dat.raudenbush1985, published(yi, vi, year, weeks))
)
estimators <- c("EE", "DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")

fits <- c()
record <- function(kind, set, tau2, test, values) {
  head <- list(
    name = quote_(paste(kind, set, tau2, test)), kind = quote_(kind), set = quote_(set),
    tau2_method = if (tau2 == "EE") "null" else quote_(tau2), test = quote_(test)
  )
  fits <<- c(fits, do.call(object, c(head, values)))
}
# leave1out and cumul name the same columns alike
columns <- function(x) {
  values <- list(
    estimate = vector_(x$estimate), se = vector_(x$se), ci_low = vector_(x$ci.lb),
    ci_high = vector_(x$ci.ub), Q = vector_(x$Q), I2 = vector_(x$I2)
  )
  if (!is.null(x$tau2)) values$tau2 <- vector_(x$tau2)
  values
}

for (set in names(sets)) {
  dat <- sets[[set]]
  for (tau2 in estimators) {
    # inference does not depend on the estimator: three have both
    for (test in if (tau2 %in% c("EE", "DL", "REML")) c("z", "knha") else "knha") {
      # metafor advises against Knapp-Hartung errors without tau2, which are offered here too
      fit <- suppressWarnings(
        rma(y, v, data = dat, method = tau2, test = test, control = control)
      )
      record("leave_one_out", set, tau2, test, columns(suppressWarnings(leave1out(fit))))
      # a single first effect drops to z, with a warning
      added <- suppressWarnings(cumul(fit, order = dat$year))
      record("cumulative", set, tau2, test, columns(added))
    }
  }
}

# all subsets, in metafor's order; membership as numbers with the first effect's bit lowest
seven <- sets$bcg[c(1:5, 8, 12), ]
for (tau2 in estimators) {
  fit <- rma(y, v, data = seven, method = tau2, control = control)
  all_of <- gosh(fit, progbar = FALSE)
  values <- list(
    members = vector_(all_of$incl %*% 2^(0:6)), size = vector_(all_of$res$k),
    estimate = vector_(all_of$res$estimate), tau2 = vector_(all_of$res$tau2),
    I2 = vector_(all_of$res$I2), Q = vector_(all_of$res$QE)
  )
  record("gosh", "seven", tau2, "z", values)
}
sets$seven <- seven

# a moderator: parts of three in four rows, cut out in turn
for (set in c("bcg", "adherence")) {
  dat <- sets[[set]]
  k <- nrow(dat)
  keep <- t(sapply(1:6, function(i) (seq_len(k) + i) %% 4 != 0 & seq_len(k) != i))
  for (tau2 in estimators) {
    for (test in if (tau2 %in% c("EE", "REML")) c("z", "t", "knha", "adhoc") else "z") {
      refits <- lapply(seq_len(nrow(keep)), function(i) {
        suppressWarnings(rma(
          y, v,
          mods = ~x, data = dat[keep[i, ], ], method = tau2, test = test, control = control
        ))
      })
      of <- function(part) t(sapply(refits, function(fit) as.numeric(fit[[part]])))
      values <- list(
        keep = matrix_(keep), estimate = matrix_(of("b")), se = matrix_(of("se")),
        ci_low = matrix_(of("ci.lb")), ci_high = matrix_(of("ci.ub")),
        tau2 = vector_(of("tau2")), I2 = vector_(of("I2")), Q = vector_(of("QE"))
      )
      record("moderator", set, tau2, test, values)
    }
  }
}

as_set <- function(dat) do.call(object, lapply(dat, vector_))
lines <- c(
  "{",
  paste0("\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    metadat = quote_(packageVersion("metadat"))
  ), ","),
  "\"sets\": {",
  paste0(quote_(names(sets)), ": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
)
writeLines(lines)
