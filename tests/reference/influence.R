# Reference values for influence diagnostics and Baujat's coordinates on published data: univariate
# models with all estimators of tau² and all inferences, and multilevel models with deletion of
# single effects and of whole studies.
# Rscript tests/reference/influence.R > tests/reference/influence.json
# The inputs are part of the file. Needs metafor, metadat.

suppressMessages(library(metafor))

# REML, ML and EB converge to 1e-5 in metafor and PM to 1e-4 unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5, tol = 1e-15)

number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, width = 1, format = "g"), "null")
}
vector_ <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
matrix_ <- function(x) paste0("[", paste(apply(as.matrix(x), 1, vector_), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
text <- function(x) paste0("[", paste(quote_(x), collapse = ", "), "]")
object <- function(...) {
  items <- unlist(list(...))
  paste0("{", paste0(quote_(names(items)), ": ", items, collapse = ", "), "}")
}

published <- function(y, v, level, x) {
  data.frame(y = as.numeric(y), v = as.numeric(v), level = as.character(level), x = as.numeric(x))
}
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
writing <- subset(dat.bangertdrowns2004, !is.na(length))
# homogeneous: nearly all estimators give zero
lidocaine <- escalc("RD", ai = ai, n1i = n1i, ci = ci, n2i = n2i, data = dat.hine1989)
sets <- list(
  bcg = with(bcg, published(yi, vi, alloc, ablat)),
  # a level with a single effect: without it the coefficients cannot be told apart
  lone = with(bcg, published(yi, vi, ifelse(trial == 5, "alone", "other"), ablat)),
  writing = with(writing, published(yi, vi, paste("grade", grade), length)),
  lidocaine = with(lidocaine, published(yi, vi, "all", (n1i + n2i) / 100))
)
tests <- c(z = "z", t = "t", knapp_hartung = "knha", knapp_hartung_conservative = "adhoc")

fits <- c()
record <- function(set, tau2, inference, moderators = "") {
  dat <- sets[[set]]
  formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
  dat$level <- factor(dat$level)
  method <- if (tau2 == "") "EE" else tau2
  fit <- rma(y, v,
    mods = formula, data = dat, method = method, test = tests[[inference]], control = control
  )
  found <- influence(fit)
  picture <- baujat(fit)
  fits <<- c(fits, object(
    set = quote_(set), tau2 = quote_(tau2), inference = quote_(inference),
    moderators = quote_(moderators), X = matrix_(fit$X), tau2_value = number(fit$tau2),
    rstudent = vector_(found$inf$rstudent), dffits = vector_(found$inf$dffits),
    cooks_distance = vector_(found$inf$cook.d), cov_ratio = vector_(found$inf$cov.r),
    tau2_deleted = vector_(found$inf$tau2.del), Q_deleted = vector_(found$inf$QE.del),
    hat = vector_(found$inf$hat), weight = vector_(found$inf$weight),
    dfbetas = matrix_(do.call(cbind, unclass(found$dfbs)[seq_len(fit$p)])),
    influential = vector_(found$is.infl & !is.na(found$is.infl)),
    baujat_x = vector_(picture$x), baujat_y = vector_(picture$y)
  ))
}
pdf(NULL)
for (tau2 in c("", "DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")) {
  for (inference in c("z", "knapp_hartung")) record("bcg", tau2, inference)
  record("bcg", tau2, "z", "x")
  record("bcg", tau2, "knapp_hartung", "level + x")
}
record("writing", "REML", "knapp_hartung_conservative", "level + x")
record("writing", "DL", "t")
record("writing", "PM", "knapp_hartung_conservative")
for (inference in names(tests)) record("lidocaine", "REML", inference)
record("lone", "REML", "knapp_hartung", "level")

# ---- models of dependent effects -----------------------------------------------------------------

# rma.mv leaves variances at 1e-5 of their size, and its deleted fits may be refused when they are
# to be tighter. So the optimum is polished here by Newton steps on the restricted likelihood of
# M = V + t1 ZZ' + t2 I, and rma.mv runs with the variances fixed there; the measures are then put
# together as rstudent, cooks.distance and dfbetas of rma.mv do, and checked against them.
polish <- function(theta, y, V, X, study) {
  Z <- outer(study, unique(study), "==") + 0
  parts <- list(tcrossprod(Z), diag(length(y)))
  at <- function(theta) {
    W <- chol2inv(chol(V + theta[1] * parts[[1]] + theta[2] * parts[[2]]))
    information <- crossprod(X, W %*% X)
    P <- W - W %*% X %*% solve(information, crossprod(X, W))
    value <- as.numeric(determinant(W)$modulus - determinant(information)$modulus)
    list(P = P, value = (value - sum(y * (P %*% y))) / 2)
  }
  now <- at(theta)
  for (iteration in 1:200) {
    P <- now$P
    Py <- P %*% y
    score <- sapply(parts, function(A) sum(Py * (A %*% Py)) - sum(P * A)) / 2
    entry <- function(i, j) {
      PA <- P %*% parts[[i]]
      PB <- P %*% parts[[j]]
      c(sum(PA * t(PB)), 2 * sum(Py * (parts[[i]] %*% PB %*% y)))
    }
    both <- list(entry(1, 1), entry(1, 2), entry(2, 2))
    as_matrix <- function(x) matrix(c(x[1], x[2], x[2], x[3]), 2)
    expected <- as_matrix(sapply(both, function(x) x[1])) / 2
    observed <- as_matrix(sapply(both, function(x) x[2] - x[1])) / 2
    free <- theta > 0 | score > 0
    if (!any(free)) break
    use <- observed[free, free, drop = FALSE]
    if (min(eigen(use)$values) <= 0) use <- expected[free, free, drop = FALSE]
    step <- c(0, 0)
    step[free] <- solve(use, score[free])
    factor <- 1
    repeat {
      proposal <- pmax(theta + factor * step, 0)
      after <- at(proposal)
      if (after$value >= now$value - 1e-12 || factor < 1e-6) break
      factor <- factor / 2
    }
    moved <- max(abs(proposal - theta))
    theta <- proposal
    now <- after
    if (moved <= 1e-13 * max(theta)) break
  }
  theta
}

schools <- subset(dat.konstantopoulos2011, district %in% c(11, 12, 18, 27, 71))
delinquency <- subset(dat.assink2016, study %in% c(2, 3, 5, 6, 9, 16, 17))
dependent <- list(
  schools = with(schools, data.frame(
    y = as.numeric(yi), v = vi, study = district, x = year
  )),
  delinquency = with(delinquency, data.frame(
    y = as.numeric(yi), v = vi, study = study, x = as.numeric(year)
  ))
)
multilevel <- c()
record_multilevel <- function(set, model, rho, moderators) {
  dat <- dependent[[set]]
  dat$row <- seq_len(nrow(dat))
  V <- vcalc(v, cluster = study, obs = row, data = dat, rho = rho)
  formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
  fit_rows <- function(rows, sigma2 = c(NA, NA)) {
    rma.mv(y, V[rows, rows],
      mods = formula, random = ~ 1 | study / row, data = dat[rows, ], sigma2 = sigma2
    )
  }
  everything <- rep(TRUE, nrow(dat))
  loose <- fit_rows(everything)
  X <- loose$X
  fit_best <- function(rows) {
    fit_rows(rows, polish(loose$sigma2, dat$y[rows], V[rows, rows], X[rows, , drop = FALSE], dat$study[rows]))
  }
  fit <- fit_best(everything)
  delete <- function(out) {
    del <- fit_best(!out)
    all <- fit_rows(everything, del$sigma2)
    Xi <- X[out, , drop = FALSE]
    e <- dat$y[out] - Xi %*% del$beta
    M <- as.matrix(all$M)[out, out] + Xi %*% del$vb %*% t(Xi)
    d <- fit$beta - del$beta
    list(
      rstudent = e[1] / sqrt(M[1, 1]), X2 = sum(e * solve(M, e)), size = sum(out),
      cook = sum(d * solve(fit$vb, d)), dfbetas = d / sqrt(diag(all$vb)),
      ratio = det(del$vb) / det(fit$vb), tau2 = sum(del$sigma2), Q = del$QE
    )
  }
  describe <- function(units) {
    found <- lapply(unique(units), function(unit) delete(units == unit))
    pick <- function(name) sapply(found, function(one) one[[name]])
    dfbetas <- do.call(rbind, lapply(found, function(one) c(one$dfbetas)))
    list(
      rstudent = vector_(pick("rstudent")), X2 = vector_(pick("X2")),
      size = vector_(pick("size")), cooks_distance = vector_(pick("cook")),
      dfbetas = matrix_(dfbetas), cov_ratio = vector_(pick("ratio")),
      tau2_deleted = vector_(pick("tau2")), Q_deleted = vector_(pick("Q")),
      found = list(X2 = pick("X2"), cook = pick("cook"), dfbetas = dfbetas)
    )
  }
  # without single effects moderators need no fits of their own
  effects <- if (moderators == "") describe(dat$row)
  studies <- describe(dat$study)
  # as their names promise: metafor's own functions, to the precision of its search
  close <- function(mine, theirs) stopifnot(max(abs(mine - unlist(theirs))) < 1e-3)
  close(studies$found$X2, rstudent(loose, cluster = study)$cluster$X2)
  close(studies$found$cook, cooks.distance(loose, cluster = study))
  close(studies$found$dfbetas, dfbetas(loose, cluster = study))
  effects$found <- studies$found <- NULL
  multilevel <<- c(multilevel, object(
    set = quote_(set), model = quote_(model), rho = number(rho), moderators = quote_(moderators),
    X = matrix_(X), sigma2 = vector_(fit$sigma2), b = vector_(fit$b),
    hat = vector_(hatvalues(fit)),
    weight = if (moderators == "") vector_(weights(fit, type = "rowsum")) else "null",
    effects = if (is.null(effects)) "null" else do.call(object, effects),
    studies = do.call(object, studies)
  ))
}
record_multilevel("schools", "three_level", 0, "")
record_multilevel("delinquency", "che", 0.6, "")
record_multilevel("delinquency", "che", 0.6, "x")
invisible(dev.off())

as_set <- function(dat) {
  columns <- lapply(dat, function(x) if (is.numeric(x)) vector_(x) else text(x))
  do.call(object, columns)
}
lines <- c(
  "{",
  paste0("\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    metadat = quote_(packageVersion("metadat"))
  ), ","),
  "\"sets\": {",
  paste0(quote_(names(sets)), ": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"dependent\": {",
  paste0(quote_(names(dependent)), ": ", sapply(dependent, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "],",
  "\"multilevel\": [",
  paste(multilevel, collapse = ",\n"),
  "]",
  "}"
)
writeLines(lines)
